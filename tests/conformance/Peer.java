import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.test.config.TestR4Config;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.HardcodedServerAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.net.InetSocketAddress;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/**
 * A recipient's FHIR server that we did not write: HAPI JPA with its database in memory and every
 * write validated. Arguments: port, and the base address that its links carry.
 */
public class Peer {
  public static void main(String[] arguments) throws Exception {
    AnnotationConfigApplicationContext application =
        new AnnotationConfigApplicationContext(TestR4Config.class);
    RestfulServer rest = new RestfulServer(application.getBean(FhirContext.class));
    JpaStorageSettings storage = application.getBean(JpaStorageSettings.class);
    storage.setAllowMultipleDelete(false);
    storage.setReuseCachedSearchResultsForMillis(null);
    storage.setAutoCreatePlaceholderReferenceTargets(false);
    storage.setAllowExternalReferences(true);
    // Our code systems are not known to it; what it cannot look up must not stop a write.
    storage.setEnforceReferentialIntegrityOnWrite(false);
    RequestValidatingInterceptor validating =
        application.getBean(RequestValidatingInterceptor.class);
    validating.setFailOnSeverity(ResultSeverityEnum.ERROR);
    rest.registerInterceptor(validating);
    ResourceProviderFactory providers =
        application.getBean("myResourceProvidersR4", ResourceProviderFactory.class);
    rest.registerProviders(providers.createProviders());
    rest.registerProvider(application.getBean("mySystemProviderR4"));
    rest.setDefaultResponseEncoding(EncodingEnum.JSON);
    rest.setServerAddressStrategy(new HardcodedServerAddressStrategy(arguments[1]));
    rest.setPagingProvider(application.getBean(DatabaseBackedPagingProvider.class));
    rest.setServerConformanceProvider(
        new JpaCapabilityStatementProvider(
            rest,
            application.getBean("mySystemDaoR4", IFhirSystemDao.class),
            storage,
            application.getBean(ISearchParamRegistry.class),
            application.getBean(IValidationSupport.class)));
    Server server =
        new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    ServletContextHandler context = new ServletContextHandler("/");
    context.addServlet(new ServletHolder(rest), "/fhir/*");
    server.setHandler(context);
    server.start();
    System.out.println("ready");
    server.join();
  }
}
